"""The server side of HTTP/1.1 under every process that listens: limits, deadlines, connections, and what is refused.

uvicorn's protocol with llhttp does the reading; what it leaves open is decided here, once for all servers: ``limits``
what they take, ``head`` which heads are refused, ``arrival`` how a message may come in pieces, ``door`` who gets a
connection, ``proxied`` whom a proxy sends requests for, ``timed`` what is overdue on one connection, and ``protocol``
what comes and goes on it.
"""
