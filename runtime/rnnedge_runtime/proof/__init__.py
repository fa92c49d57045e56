"""Proofs on the device itself: checks of any recurrent model, and golden vectors."""
