"""HTTP beside the socket: other systems' shapes for talking with the same characters."""
