"""What a recipe asks for, before anything is paid for it."""
