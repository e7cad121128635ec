//! The page at `/`: the set at a glance, without scripts or anything from elsewhere.

use crate::publish::Published;
use crate::topology::Epoch;

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn epoch(epoch: Option<Epoch>) -> String {
    epoch.map_or_else(|| "-".to_owned(), |e| e.to_string())
}

/// The page.
pub(super) fn page(published: &Published) -> String {
    let report = &published.report;
    let own = format!(
        "<tr><td><b>{}</b></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        escape(&report.pod),
        report.role.as_str(),
        epoch(report.epoch),
        report.replication.offset,
        if report.ready { "ready" } else { "not ready" }
    );
    let peers: String = report
        .peers
        .iter()
        .map(|peer| {
            format!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(&peer.pod),
                peer.role.map_or("unknown", crate::report::Role::as_str),
                epoch(peer.epoch),
                peer.offset
                    .map_or_else(|| "-".to_owned(), |o| o.to_string()),
                escape(peer.failure.as_deref().unwrap_or("answers"))
            )
        })
        .collect();
    let reasons: String = report
        .reasons
        .iter()
        .map(|r| format!("<li>{}</li>", escape(&r.message)))
        .collect();
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"2\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{pod}</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}\
         table{{border-collapse:collapse;width:100%}}td,th{{text-align:left;padding:.3em .8em .3em 0;border-bottom:1px solid #ccc}}</style>\
         <h1>{pod}: {role}</h1><p>{namespace}/{service}, newest epoch {seen}</p><ul>{reasons}</ul>\
         <table><tr><th>pod</th><th>role</th><th>epoch</th><th>offset</th><th>state</th></tr>{own}{peers}</table>",
        pod = escape(&report.pod),
        role = report.role.as_str(),
        namespace = escape(&report.namespace),
        service = escape(&report.service),
        seen = epoch(report.epoch_seen),
    )
}
