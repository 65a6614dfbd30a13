"""Commands of the shell, one group a module; each module lists its COMMANDS."""
