//! The agent of rskafka, which has no groups and no transactions. The operations are described in the
//! README.md one folder up.
mod operations;

use std::io::{BufRead, Write};

use operations::Agent;
use serde_json::{json, Value};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut agent = Agent::default();
    let (lines, mut requests) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if lines.send(line.expect("a line of text")).is_err() {
                return;
            }
        }
    });
    while let Some(line) = requests.recv().await {
        let request: Value = serde_json::from_str(&line).expect("JSON");
        let answer = match agent.perform(&request).await {
            Ok(result) => json!({ "ok": result }),
            Err(failure) => json!({ "error": { "code": failure.code, "message": failure.message } }),
        };
        println!("{answer}");
        std::io::stdout().flush().expect("somebody reads");
    }
}
