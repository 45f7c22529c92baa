"""The command `tp35`: makes PyTorch training projects and keeps them current."""
