//! What the chart lets Plimsoll's own account do, as the API server understands it.

use crate::installation;
use crate::installation::NAMESPACE;

#[test]
fn it_may_do_what_it_does_and_no_more() {
    let installation = installation();
    let account = format!("--as=system:serviceaccount:{NAMESPACE}:plimsoll");
    for (place, namespace) in [("own", NAMESPACE), ("other", "default")] {
        let list = ["auth", "can-i", "--list", "--no-headers", &account, "-n", namespace];
        let list = installation.plane.kubectl("admin", &list).expect_ok("a list");
        let words = |line: &str| {
            let (of, verbs) = line.trim_end_matches(']').rsplit_once('[').expect("a line ends with verbs");
            let mut verbs: Vec<_> = verbs.split_whitespace().collect();
            verbs.sort_unstable();
            format!("{}: {}", of.split_whitespace().collect::<Vec<_>>().join(" "), verbs.join(" "))
        };
        // What every account may: look at itself, and at what the API server is and offers.
        let is_own = |line: &String| !line.contains("selfsubject") && !line.starts_with('[');
        let mut lines: Vec<String> = list.lines().map(words).filter(is_own).collect();
        lines.sort();
        insta::assert_snapshot!(format!("account_in_{place}_namespace"), lines.join("\n"));
    }
}
