//! When events were recorded, where that was switched on and off.

use tftrace_format::reader::Trace;

use super::numbers::duration;

/// One sentence, or nothing if everything was recorded.
pub fn line(trace: &Trace<'_>) -> Option<String> {
    if trace.recordings().is_empty() {
        return None;
    }
    let mut intervals: Vec<String> = Vec::new();
    let mut began = Some(0.0);
    for &(time, on) in trace.recordings() {
        let now = trace.seconds(time);
        match (on, began) {
            (true, None) => began = Some(now),
            (false, Some(from)) => {
                // `TFTRACE_START=off`: an interval of no length.
                if from != 0.0 || now > 0.001 {
                    intervals.push(format!("from {} to {}", duration(from), duration(now)));
                }
                began = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    intervals.extend(began.map(|from| format!("from {} on", duration(from))));
    if intervals.is_empty() {
        return Some("recorded: nothing; switch it on with: tftrace ctl PID start".into());
    }
    let when = intervals.join(", ");
    Some(format!(
        "recorded: {when}; what was live before an interval, or came and went outside, is not counted"
    ))
}
