"""The server side of HTTP/1.1 under every process that listens: limits, deadlines, connections, and what is refused.

uvicorn's protocol with llhttp does the reading; what it leaves open is decided here, once for all servers: ``limits``
what they take, ``head`` which heads are refused, ``door`` who gets a connection, ``protocol`` one connection.
"""
