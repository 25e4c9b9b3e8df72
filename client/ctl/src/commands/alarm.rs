//! `alarm list|disarm`.

use tenure::{MemberId, wire::etcdserverpb::AlarmType};

use super::Session;
use crate::{args::Alarm, failure::Failure, output::Reply};

pub(super) async fn run(session: &Session, command: Alarm) -> Result<(), Failure> {
    let client = &session.client;
    match command {
        Alarm::List => session
            .output
            .print(&Reply::Alarm(client.alarm_list().await?)),
        Alarm::Disarm => {
            let mut disarmed = client.alarm_list().await?;
            for alarm in &disarmed.alarms {
                let answer = client
                    .alarm_disarm(MemberId::from(alarm.member_id), alarm.alarm())
                    .await?;
                disarmed.header = answer.header.or(disarmed.header);
            }
            disarmed
                .alarms
                .retain(|alarm| alarm.alarm() != AlarmType::None);
            session.output.print(&Reply::Alarm(disarmed))
        }
    }
}
