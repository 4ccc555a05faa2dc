"""Files in and out.

Each package imports only those before it: ``files`` (opening and writing files safely), ``containers`` (untrusted bytes
to plain content), ``checkpoints`` (what a checkpoint says), ``networks`` (which network that is), ``data`` (what it is
measured or trained on).
"""
