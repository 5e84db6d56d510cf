use super::*;

fn table(naming: Naming, backends: &[(&str, &[&str])], sticky: &[&str]) -> NameTable {
    let backends: Vec<_> = backends.iter().map(|(prefix, names)| BackendNames { prefix, names }).collect();
    NameTable::build(naming, &backends, &sticky.iter().map(|name| (*name).to_owned()).collect())
}

fn owner(table: &NameTable, exposed: &str) -> Option<(usize, String)> {
    match table.resolve(exposed) {
        Resolution::Owner(owner) => Some((owner.backend, owner.original.to_string())),
        _ => None,
    }
}

#[test]
fn only_names_in_conflict_are_prefixed() {
    let table = table(Naming::OnConflict, &[("fs", &["read", "list"]), ("git", &["list", "commit"])], &[]);
    let shown =
        [(0, "read"), (0, "list"), (1, "list"), (1, "commit")].map(|(b, name)| table.exposed(b, name));
    assert_eq!(shown, [Some("read"), Some("fs__list"), Some("git__list"), Some("commit")]);
    assert_eq!(owner(&table, "git__list"), Some((1, "list".into())));
    assert_eq!(owner(&table, "fs__read"), Some((0, "read".into())), "not advertised, but it resolves");
    let Resolution::Ambiguous(owners) = table.resolve("list") else { panic!("{:?}", table.resolve("list")) };
    assert_eq!(owners.iter().map(|owner| owner.backend).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(table.resolve("nothing"), Resolution::Unknown);
    assert_eq!(table.conflicts().collect::<Vec<_>>(), ["list"]);
}

#[test]
fn a_name_once_in_conflict_stays_prefixed() {
    let table = table(Naming::OnConflict, &[("fs", &["list"]), ("git", &[])], &["list"]);
    assert_eq!(table.exposed(0, "list"), Some("fs__list"));
    assert!(matches!(table.resolve("list"), Resolution::Ambiguous([_])), "git's may have been meant");
    assert_eq!(table.conflicts().collect::<Vec<_>>(), ["list"]);
}

#[test]
fn every_name_is_prefixed_when_asked() {
    let table = table(Naming::Always, &[("fs", &["read"]), ("git", &["commit"])], &[]);
    assert_eq!(table.exposed(0, "read"), Some("fs__read"));
    assert_eq!(owner(&table, "fs__read"), Some((0, "read".into())));
    assert_eq!(table.resolve("read"), Resolution::Unknown);
}

#[test]
fn without_prefixes_the_first_backend_wins() {
    let long = "x".repeat(100);
    let table = table(Naming::Never, &[("fs", &["list", &long]), ("git", &["list", "fs__list"])], &[]);
    assert_eq!(table.exposed(0, &long), Some(&*long), "nothing is renamed");
    assert_eq!(owner(&table, "list"), Some((0, "list".into())));
    assert_eq!(table.exposed(1, "list"), None);
    assert_eq!(table.shadowed(), [Owner { backend: 1, original: "list".into() }]);
    assert_eq!(owner(&table, "git__list"), Some((1, "list".into())), "the hidden one can still be reached");
    assert_eq!(owner(&table, "fs__list"), Some((1, "fs__list".into())), "a served name is never taken over");
    assert_eq!(owner(&table, table.prefixed(0, "list").unwrap()), Some((0, "list".into())));
}

#[test]
fn a_backend_cannot_pose_as_another_ones_prefix() {
    let table = table(Naming::OnConflict, &[("bank", &[]), ("evil", &["bank__pay"])], &[]);
    assert_eq!(table.exposed(1, "bank__pay"), Some("evil__bank__pay"));
    assert_eq!(table.resolve("bank__pay"), Resolution::Unknown);
}

#[test]
fn generated_names_fit_what_model_apis_accept() {
    let long = "n".repeat(80);
    let names: &[&str] = &["a.b", "a/b", "a_b", "é", "", &long, "_x"];
    for prefix in ["p", "my.server", "p_", &"q".repeat(70)] {
        let table = table(Naming::Always, &[(prefix, names)], &[]);
        let mut shown: Vec<_> = names.iter().map(|name| table.exposed(0, name).unwrap()).collect();
        for name in &shown {
            assert!(name.len() <= 64, "{name}");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)), "{name}");
        }
        shown.sort_unstable();
        shown.dedup();
        assert_eq!(shown.len(), names.len(), "{shown:?}");
    }
}

#[test]
fn generated_names_never_change_between_releases() {
    let long = "list_all_of_the_open_pull_requests_of_a_repository_with_their_reviews";
    let table = table(Naming::Always, &[("github", &[long, "repo.get", "get"])], &[]);
    let shown = [long, "repo.get", "get"].map(|name| table.exposed(0, name).unwrap());
    let cut = "github__list_all_of_the_open_pull_requests_of_a_reposit_0e134585";
    assert_eq!(shown, [cut, "github__repo_get_833379ef", "github__get"]);
}

#[test]
fn a_long_bare_name_is_shortened() {
    let long = "n".repeat(65);
    let table = table(Naming::OnConflict, &[("a", &[&long])], &[]);
    let shown = table.exposed(0, &long).unwrap();
    assert!(shown.len() == 64 && shown.starts_with("nnn"), "{shown}");
    assert_eq!(owner(&table, shown), Some((0, long.clone())));
    assert_eq!(table.resolve(&long), Resolution::Unknown);
}

#[test]
fn a_bare_name_of_64_characters_is_kept() {
    let exact = "é".repeat(64);
    assert_eq!(table(Naming::OnConflict, &[("a", &[&exact])], &[]).exposed(0, &exact), Some(&*exact));
}

#[test]
fn equal_prefixes_still_give_different_names() {
    let table = table(Naming::Always, &[("a", &["x"]), ("a", &["x"])], &[]);
    let shown = [table.exposed(0, "x").unwrap(), table.exposed(1, "x").unwrap()];
    assert_ne!(shown[0], shown[1]);
    assert_eq!(shown.map(|name| owner(&table, name).unwrap().0), [0, 1]);
}

#[test]
fn a_name_does_not_depend_on_the_order_of_backends_that_look_alike() {
    let backends: [(&str, &[&str]); 3] = [("a", &["_x", "b__c"]), ("a_", &["x"]), ("a__b", &["c"])];
    let shown = |order: [usize; 3]| {
        let table = table(Naming::Always, &order.map(|at| backends[at]), &[]);
        let names = order.iter().enumerate().flat_map(|(position, at)| {
            let names = backends[*at].1.iter();
            names.map(move |name| (*at, *name, position))
        });
        names
            .map(|(at, name, position)| ((at, name), table.exposed(position, name).unwrap().to_owned()))
            .collect()
    };
    let expected: HashMap<_, _> = shown([0, 1, 2]);
    assert_eq!(shown([2, 1, 0]), expected);
    assert_eq!(shown([1, 2, 0]), expected);
}
