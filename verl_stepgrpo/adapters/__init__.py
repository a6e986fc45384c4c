"""The rewards in the shapes that trainers other than verl call reward functions in."""
