//! Images to work on, the same in every run.

use osguard_testkit::image::{Compression, LayerSource, LayoutMaker, TarMaker};

use crate::environment::Environment;

/// Begins the layout directory `image` in the working directory.
pub(crate) fn layout(environment: &Environment) -> LayoutMaker {
    LayoutMaker::new(environment.path("image")).unwrap()
}

/// Makes the layout directory `image` with one image `v1` of two layers.
pub(crate) fn image(environment: &Environment) -> LayoutMaker {
    let mut layout = layout(environment);
    layout.image("v1", &[layer("base"), layer("application")]).unwrap();
    layout
}

/// Makes the layout directory `image` with an index `multi` for two platforms, which share a layer,
/// and a statement about them beside.
pub(crate) fn index(environment: &Environment) -> LayoutMaker {
    let mut layout = layout(environment);
    let mut images = Vec::new();
    for platform in [("linux", "amd64"), ("linux", "arm64")] {
        let layers = [layer("base"), layer(platform.1)];
        images.push((platform, layout.image_for(platform, platform.1, &layers).unwrap()));
    }
    let statement = layout.image("statement", &[layer("statement")]).unwrap();
    images.push((("unknown", "unknown"), statement));
    let images: Vec<_> =
        images.iter().map(|(platform, digest)| (*platform, digest.as_str())).collect();
    layout.index("multi", &images).unwrap();
    layout
}

/// Makes a layer with one file that holds `text`, not compressed: another version of a compressor
/// would give it another digest.
pub(crate) fn layer(text: &str) -> LayerSource {
    LayerSource::new(tar(text), Compression::Plain).unwrap()
}

/// Makes an archive with one file that holds `text`.
pub(crate) fn tar(text: &str) -> Vec<u8> {
    TarMaker::new().directory("bin", 0o755).file("bin/program", text.as_bytes()).finish()
}
