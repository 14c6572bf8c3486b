//! Developer programs around Cascade: recording and replaying control-plane traffic, load.
