//! The story of a first call with the real desktop program, where there is an X server to play it on.

use twocan_tests::gui;

#[tokio::test(flavor = "multi_thread")]
async fn two_newcomers_meet_call_and_share_a_screen_by_clicks_alone() -> anyhow::Result<()> {
    if let Some(tool) = gui::missing() {
        println!("skipped: {tool} is not installed");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let told = gui::story::play(folder.path()).await?;
    assert!(told.steps.len() >= 8, "{told:?}");
    let pictures = std::fs::read_dir(folder.path())?.count();
    assert!(pictures > told.steps.len(), "each step leaves its pictures");
    Ok(())
}
