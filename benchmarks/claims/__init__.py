"""Claims about other tools: each module prints its sentence, with the versions it holds for."""
