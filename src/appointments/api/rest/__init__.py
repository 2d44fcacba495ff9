"""HTTP beside gRPC-Web: sign-in with cookies under /auth, health, and the page."""
