//! TensorFlow in the host: functions of its libraries that are interposed by their mangled names.

mod schedule;
