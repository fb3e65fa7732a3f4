//! The authorities of a hub as a file, since the driver of MongoDB takes them from nowhere else.

use std::io;
use std::path::PathBuf;

use flickrhub_job::connection::mongodb::tls;
use flickrhub_job::connection::trust::Trust;
use mongodb::options::Tls;

use crate::build::checksum;

/// What a client of MongoDB needs to know its servers by; without authorities there is no TLS.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn tls_of(trust: Option<&Trust>) -> io::Result<Tls> {
    Ok(tls(trust.map(write).transpose()?))
}

/// Writes the file, unless it is there. Its name follows from its content, so that one which is read never changes, and it
/// is moved to its place when it is whole: two reconciliations may do that at the same time.
fn write(trust: &Trust) -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join("flickrhub-trust");
    let file = folder.join(format!("{}.pem", checksum::of_texts([trust.pem()])));
    if std::fs::read_to_string(&file).is_ok_and(|found| found == trust.pem()) {
        return Ok(file);
    }
    std::fs::create_dir_all(&folder)?;
    let draft = folder.join(format!("{:016x}.new", rand::random::<u64>()));
    std::fs::write(&draft, trust.pem())?;
    std::fs::rename(&draft, &file)?;
    Ok(file)
}
