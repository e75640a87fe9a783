"""The inference server: fetches one ONNX model, loads it, and answers the Open Inference Protocol v2.

``fetch`` (init container) brings the model file; ``serve`` loads it and answers. Modules by duty: ``dataplane`` takes
and gives tensors, with ``session`` to compute, ``lane`` to bound what waits, ``feature_join`` to read features and
``prediction_cache`` to keep answers;
``rest`` translates HTTP to it, with ``protocol`` and ``predict_json`` for the bodies; ``app`` puts them together.
"""
