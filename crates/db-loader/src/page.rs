//! Which of a parent's children are meant: the first so many, in which order, from where on.

/// In which order a parent's children come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Order {
    /// The smallest sort key first.
    Ascending,
    /// The greatest sort key first.
    Descending,
}

/// A page of a parent's children.
///
/// ```
/// use db_loader::Page;
///
/// let first: Page<(i64,)> = Page::first(10);
/// let second = Page::first(10).after((4_711_i64,));
/// assert_ne!(first, second);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Page<A> {
    pub(crate) count: u32,
    pub(crate) from: From<A>,
}

/// A page of one parent's children: what a loader of [`Children`](crate::Children) is asked for, and what a
/// cache in front of it knows an entry by (feature `serde`).
///
/// ```
/// use db_loader::PageOf;
///
/// /// What a write to one of the page's children invalidates.
/// fn tag(page: &PageOf<i64, (i64,)>) -> String {
///     format!("comments of post {}", page.parent())
/// }
/// # let _ = tag;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PageOf<P, A> {
    pub(crate) parent: P,
    pub(crate) page: Page<A>,
    pub(crate) order: Order,
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub(crate) enum From<A> {
    Start,
    After(A),
    Offset(u32),
}

impl<A> Page<A> {
    /// The first so many children. Ask for one more than is shown to learn whether there are others.
    pub fn first(count: u32) -> Self {
        Page { count, from: From::Start }
    }

    /// Those that come after this sort key, which is that of the last child of the page before.
    ///
    /// It costs the same however far on the page is.
    #[must_use]
    pub fn after(self, sort_key: A) -> Self {
        Page { from: From::After(sort_key), ..self }
    }

    /// Those that come after so many others. The server reads those, too.
    #[must_use]
    pub fn offset(self, skipped: u32) -> Self {
        Page { from: From::Offset(skipped), ..self }
    }
}

impl<P, A> PageOf<P, A> {
    /// The parent.
    pub fn parent(&self) -> &P {
        &self.parent
    }

    /// Which of its children.
    pub fn page(&self) -> &Page<A> {
        &self.page
    }

    /// In which order.
    pub fn order(&self) -> Order {
        self.order
    }
}
