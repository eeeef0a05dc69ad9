//! Attacks that worked once, each as a test.
