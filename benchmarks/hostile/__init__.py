"""What the costliest requests cost the service, and the clients beside them."""
