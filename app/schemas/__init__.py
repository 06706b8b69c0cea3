"""What goes in and comes out of the endpoints, as pydantic models."""
