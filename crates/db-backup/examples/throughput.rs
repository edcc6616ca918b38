//! Writes and reads a stream through a repository: `throughput DIRECTORY FILE [LEVEL]`. Prints seconds and
//! peak memory.
#![expect(clippy::print_stdout, reason = "it is a program, and this is its answer")]

use std::io::Read;
use std::time::Instant;

use db_backup::{
    Compression, File, Keys, Kind, Protection, Repository, Root, ServerFacts, Store, What, WriterOptions,
};

fn peak_kilobytes() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM unknown");
    line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, file, rest @ ..] = arguments.as_slice() else {
        return Err("usage: throughput DIRECTORY FILE [LEVEL]".into());
    };
    let level = rest.first().map_or(Ok(1), |level| level.parse())?;
    let (repository, _) =
        Repository::init(Store::local(directory)?, &Keys::generate(), Protection::Encrypted).await?;
    let cluster = repository.cluster(1);

    let began = Instant::now();
    let draft = cluster.begin(Kind::Full, ServerFacts::default(), None).await?;
    let mut writer =
        draft.writer(WriterOptions { compression: Compression::Zstd(level), ..WriterOptions::default() })?;
    let mut input = std::fs::File::open(file)?;
    let mut buffer = vec![0; 256 << 10];
    writer.begin_file(input.metadata()?.len()).await?;
    loop {
        let read = input.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        writer.write(&buffer[..read]).await?;
    }
    let extent = writer.end_file();
    let written = writer.finish().await?;
    let modified = chrono::DateTime::UNIX_EPOCH;
    let entry = File {
        path: "stream".to_owned(),
        root: Root::Data,
        what: What::File { extent },
        mode: 0o600,
        modified,
    };
    let summary = draft.publish(vec![entry], written.content).await?;
    println!(
        "wrote {} to {} bytes in {:?}, peak {}",
        extent.bytes,
        summary.figures.stored_bytes,
        began.elapsed(),
        peak_kilobytes()
    );

    let began = Instant::now();
    let manifest = cluster.manifest(&summary.id).await?;
    let mut pieces = cluster.reader(&manifest, 2).read(extent);
    let mut bytes = 0;
    while let Some(piece) = pieces.next().await? {
        bytes += piece.len();
    }
    println!("read {bytes} bytes in {:?}, peak {}", began.elapsed(), peak_kilobytes());
    Ok(())
}
