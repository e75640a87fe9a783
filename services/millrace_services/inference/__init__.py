"""The inference server: fetches one ONNX model, loads it, and answers the Open Inference Protocol v2.

``fetch`` (init container) brings the model file; ``serve`` loads it and answers. Modules by duty: ``tensors`` and
``protocol`` translate, ``session`` computes, ``lane`` bounds what waits, ``feature_join`` reads features, ``app``
puts them together.
"""
