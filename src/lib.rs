//! Client-side Tower middleware that keeps outgoing requests signed with a short-lived access token.
