"""A corpus answered twice: by two models, by two engines, or by a device and a golden one."""
