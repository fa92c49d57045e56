"""The engines that run models: how they are opened, and what they report."""
