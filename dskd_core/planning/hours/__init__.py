"""How long stages take, on named devices and on this machine."""
