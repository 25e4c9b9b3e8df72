//! `alarm list|disarm`.

use tenure::wire::etcdserverpb::AlarmType;

use super::Session;
use crate::{args::Alarm, failure::Failure, output::Reply};

pub(super) async fn run(session: &Session, command: Alarm) -> Result<(), Failure> {
    let client = &session.client;
    match command {
        Alarm::List => session.output.print(&Reply::Alarm(
            client.maintenance().alarms().await?.into_wire(),
        )),
        Alarm::Disarm => {
            let raised = client.maintenance().alarms().await?;
            let mut disarmed = raised.clone().into_wire();
            for alarm in &raised {
                let (member, kind) = (alarm.member_id(), alarm.kind());
                let answer = client.maintenance().disarm(member, kind).await?;
                disarmed.header = Some(answer.header().into_wire());
            }
            disarmed
                .alarms
                .retain(|alarm| alarm.alarm() != AlarmType::None);
            session.output.print(&Reply::Alarm(disarmed))
        }
    }
}
