"""The embedded node: runs the pods bound to it as processes of this machine.

It does what a kubelet does, as far as a process without namespaces can: command, environment, volumes, probes,
restarts, grace, logs and status. Each pod has a loopback address of its own. What it does not enforce, and does not
pretend to:

- walls: read-only file systems, seccomp profiles and the like (``security``; a pod's condition ``SecurityContextKept``
  names what it asks for in vain), network policies, host ports; containers see the file system as the agent's user
  does;
- CPU and memory limits: a limit on a process's address space would break what merely reserves memory (NumPy, ONNX
  Runtime, CUDA). ``OOMKilled`` is reported when the kernel killed the process for want of memory;
- read-only and propagated mounts; mount paths exist only as far as they are named in command, arguments and environment
  (``paths``); ``subPathExpr``, ephemeral and CSI volumes and claims are refused with an event;
- images: nothing is pulled. What runs is decided by the repository's name (``images``);
- gRPC probes fail, with a message that says so.
"""
