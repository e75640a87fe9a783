"""Statistics of experiments: pure functions of numbers, with numpy and scipy alone.

Units go into *sufficient statistics* (``sums``: exact, mergeable by ``+``). Of these an *estimate* per arm is made
(``proportion``, ``mean``, ``quantile``), and of two estimates an *effect*: treatment minus control, with its standard
error. Everything after that takes effects, whatever the metric is: ``lift``, ``epochs``, ``sequential``,
``group_sequential``. ``power`` plans for the method that will judge.

A class accumulates by ``update`` and answers by ``get``. Input that cannot be is refused (``RejectError`` with the
field); input that is possible but says nothing (no units, no variance) makes an ``Inconclusive``. NaN never comes out.

Words: *unit*, that which was assigned to an arm; *alpha*, the two-sided level of a test; *epoch*, a stretch of constant
weights.
"""
