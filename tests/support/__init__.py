"""What tests of several folders share: small trainings that run as processes of their own, workspaces, fakes."""
