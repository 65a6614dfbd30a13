"""Small value types and formats shared by every layer; they import nothing of ours."""
