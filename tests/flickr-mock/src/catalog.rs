//! Photos, sets, favorites and tickets: what calls act on.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use serde::Serialize;

/// A photo. Of its content, only length and hash are kept.
#[derive(Debug, Clone, Serialize)]
pub struct Photo {
    /// The photo's id.
    pub id: String,
    /// The owner's nsid.
    pub owner: String,
    /// The title.
    pub title: String,
    /// The description.
    pub description: String,
    /// The tags, in the order added.
    pub tags: Vec<String>,
    /// Length of the content in bytes.
    pub bytes: u64,
    /// SHA-256 of the content in hexadecimal.
    pub sha256: String,
    /// How often the content was replaced.
    pub replaced: u32,
}

/// An asynchronous upload.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    /// When it is done.
    pub(crate) ready_at: Instant,
    /// The photo, or `None` if the conversion fails.
    pub(crate) photo_id: Option<String>,
}

/// A set of photos.
#[derive(Debug, Clone)]
pub(crate) struct Photoset {
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) title: String,
    pub(crate) primary: String,
}

/// Everything that is stored.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) photos: BTreeMap<String, Photo>,
    pub(crate) tickets: BTreeMap<String, Ticket>,
    pub(crate) photosets: Vec<Photoset>,
    /// Pairs of a user's nsid and a photo's id.
    pub(crate) favorites: HashSet<(String, String)>,
    last_id: u64,
}

/// What a search asks for. An empty list matches everything.
#[derive(Debug, Default)]
pub(crate) struct Query<'a> {
    pub(crate) owner: Option<&'a str>,
    pub(crate) text: Option<&'a str>,
    pub(crate) any_tag: Vec<&'a str>,
}

impl Catalog {
    /// Ids grow, and have eleven digits as Flickr's have.
    pub(crate) fn next_id(&mut self) -> String {
        self.last_id += 1;
        (53_000_000_000 + self.last_id).to_string()
    }

    /// Stores a photo under a new id.
    pub(crate) fn add(&mut self, mut photo: Photo) -> String {
        photo.id = self.next_id();
        let id = photo.id.clone();
        self.photos.insert(id.clone(), photo);
        id
    }

    /// A ticket for a photo, or for one that cannot be converted.
    pub(crate) fn issue(&mut self, photo_id: Option<String>, delay: Duration) -> String {
        let id = format!("{}-72157{}", self.next_id(), self.tickets.len());
        let ticket = Ticket {
            ready_at: Instant::now() + delay,
            photo_id,
        };
        self.tickets.insert(id.clone(), ticket);
        id
    }

    /// The photo of that id if it belongs to `owner`.
    pub(crate) fn own(&mut self, id: &str, owner: &str) -> Option<&mut Photo> {
        self.photos.get_mut(id).filter(|photo| photo.owner == owner)
    }

    /// A photo of `owner` with that content.
    pub(crate) fn duplicate(&self, owner: &str, sha256: &str) -> Option<&Photo> {
        self.photos
            .values()
            .find(|photo| photo.owner == owner && photo.sha256 == sha256)
    }

    /// The matching photos, newest first.
    pub(crate) fn search(&self, query: &Query<'_>) -> Vec<&Photo> {
        // Flickr does not tell capital letters from small ones.
        let text = query.text.map(str::to_lowercase);
        let has_text = |photo: &Photo, text: &str| {
            photo.title.to_lowercase().contains(text)
                || photo.description.to_lowercase().contains(text)
                || photo.tags.iter().any(|tag| tag.to_lowercase() == text)
        };
        self.photos
            .values()
            .rev()
            .filter(|photo| query.owner.is_none_or(|owner| photo.owner == owner))
            .filter(|photo| text.as_deref().is_none_or(|text| has_text(photo, text)))
            .filter(|photo| {
                query.any_tag.is_empty() || photo.tags.iter().any(|tag| query.any_tag.contains(&tag.as_str()))
            })
            .collect()
    }
}

/// The tags of a `tags` argument: separated by spaces or commas, a quoted one may contain them.
pub(crate) fn split_tags(text: &str) -> Vec<String> {
    let mut tags = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' | ',' if !quoted => tags.push(String::new()),
            _ => {
                if let Some(tag) = tags.last_mut() {
                    tag.push(c);
                }
            }
        }
    }
    tags.retain(|tag| !tag.is_empty());
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_split_but_quoted_ones_kept_whole() {
        assert_eq!(
            split_tags(r#"cat "big dog", hub:job=1 "#),
            ["cat", "big dog", "hub:job=1"]
        );
        assert!(split_tags("  ").is_empty());
    }
}
