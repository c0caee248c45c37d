//! `dist-wheel`: the wheel that can be given to others.

use crate::args::Args;
use crate::process::{Result, root, step};
use crate::python::{Needs, Profile, Venv};

pub(crate) fn run(args: Args) -> Result<()> {
    args.finish()?;
    let venv = Venv::ready(Needs::Build)?;
    let wheel = step("release wheel", || venv.build_wheel(Profile::Release, &root().join("dist")))?;
    println!("{}", wheel.strip_prefix(root()).unwrap_or(&wheel).display());
    Ok(())
}
