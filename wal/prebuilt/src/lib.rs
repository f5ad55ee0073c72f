//! Empty: building the dependency is the point.
