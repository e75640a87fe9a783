"""What was predicted, who saw it, what came of it: the names, columns and places of the evidence lake. Pure.

``prediction_id`` joins the records; ``record`` is what is noted of a prediction, ``rows`` makes a table of many,
``columns`` unites rows that have other columns, ``redaction`` and ``sampling`` say what is kept of them, ``layout``
where it lies.
"""
