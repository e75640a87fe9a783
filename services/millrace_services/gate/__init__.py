"""The gate Job: judges a model on held-out rows and on the clock, before it gets any traffic.

It runs in the image of the pods that would serve the model, with their session, so that what it measures is theirs.
"""
