"""Settings of the test process: two CPU devices, so that the sharded path is the one that is tested, and the compile cache."""

from jaxrl import platform

platform.setup(cpu_devices=2)
