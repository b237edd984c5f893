"""A cloud in a box: real OpenStack services whose servers are systemd containers.

Runs with the system's Python (3.11 or newer) and its standard library only. What runs inside the OpenStack
virtual environment lies in ``lab/openstack``, what goes into container images in ``lab/images``.
"""
