"""From a benchmark to its Kubernetes objects: a ConfigMap, a PersistentVolumeClaim unless one is given, and a Job. Pure.

ConfigMap and Job are called <name>-<first 8 characters of the uid>, so a benchmark can be created again under the same name
while its predecessor's objects are still being deleted. Owner references delete them. The claim has no owner and
therefore stays; its name has no uid, so the results of all benchmarks of one name share it (but see claim.py).
"""
