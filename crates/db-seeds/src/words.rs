//! Small word lists from which names and sentences are made.
//!
//! Changing a list changes every generated set: raise `GENERATOR_VERSION` with it.

pub(crate) const GIVEN: &[&str] = &[
    "Ada", "Alan", "Amara", "Anders", "Anita", "Asha", "Beatriz", "Bruno", "Carla", "Chen", "Clara", "Dario", "Dina",
    "Edsger", "Elena", "Emil", "Esther", "Farid", "Fatima", "Felix", "Freya", "Grace", "Hana", "Hugo", "Ines", "Ivan",
    "Jamal", "Jana", "Jonas", "Julia", "Kamal", "Karin", "Kenji", "Lars", "Leila", "Lina", "Lucas", "Maja", "Marco",
    "Margaret", "Mateo", "Mei", "Milan", "Mina", "Nadia", "Niklaus", "Noor", "Olga", "Omar", "Oscar", "Paula", "Pedro",
    "Priya", "Radia", "Ravi", "Rosa", "Samir", "Sara", "Sofia", "Tariq", "Tomas", "Vera", "Viktor", "Yuki",
];

pub(crate) const FAMILY: &[&str] = &[
    "Abebe", "Adeyemi", "Ahmed", "Almeida", "Andersson", "Baker", "Bauer", "Becker", "Berg", "Bianchi", "Castro",
    "Cohen", "Costa", "Diaz", "Dubois", "Eriksen", "Fischer", "Fontaine", "Garcia", "Gupta", "Haddad", "Hansen",
    "Hoffmann", "Ibrahim", "Ito", "Ivanova", "Jansen", "Johansson", "Kaya", "Keller", "Khan", "Kim", "Kovacs",
    "Kowalski", "Larsen", "Lee", "Lindqvist", "Lopez", "Marino", "Mbeki", "Meyer", "Moreau", "Murphy", "Nakamura",
    "Nguyen", "Novak", "Okafor", "Olsen", "Park", "Petrov", "Popescu", "Ramos", "Rossi", "Sato", "Schmidt", "Silva",
    "Singh", "Suzuki", "Tanaka", "Varga", "Virtanen", "Wagner", "Wang", "Yilmaz",
];

pub(crate) const COMPANY: &[&str] = &[
    "Alder", "Amber", "Anchor", "Aspen", "Atlas", "Beacon", "Birch", "Bluebird", "Bridge", "Brook", "Cedar", "Cobalt",
    "Compass", "Copper", "Coral", "Crane", "Delta", "Ember", "Falcon", "Fern", "Field", "Fjord", "Garnet", "Granite",
    "Harbor", "Hazel", "Heron", "Hill", "Indigo", "Iris", "Juniper", "Kestrel", "Lagoon", "Lantern", "Larch", "Linden",
    "Maple", "Marble", "Meadow", "Mistral", "North", "Oak", "Orchard", "Osprey", "Pebble", "Pine", "Prairie", "Quarry",
    "Raven", "River", "Rowan", "Saffron", "Silver", "Solstice", "Spruce", "Summit", "Swift", "Thistle", "Tidal",
    "Valley", "Walnut", "Willow", "Winter", "Zephyr",
];

pub(crate) const TRADE: &[&str] = &[
    "Analytics", "Care", "Clinic", "Diagnostics", "Dental", "Group", "Health", "Hospital", "Imaging", "Institute",
    "Labs", "Logistics", "Medical", "Partners", "Pharmacy", "Practice", "Research", "Services", "Systems", "Therapy",
];

pub(crate) const WORD: &[&str] = &[
    "about", "after", "agreed", "appointment", "asked", "before", "blood", "booked", "briefly", "calm", "called",
    "care", "change", "checked", "clear", "clinic", "daily", "discussed", "dose", "early", "evening", "exercise",
    "family", "feels", "file", "follow", "form", "friday", "further", "good", "improved", "insurance", "invoice",
    "letter", "lower", "measured", "medication", "monday", "morning", "next", "normal", "noted", "pain", "pressure",
    "question", "received", "referral", "report", "rest", "result", "returned", "reviewed", "routine", "sample",
    "sent", "sleep", "slightly", "stable", "summary", "test", "thursday", "today", "treatment", "update", "visit",
    "waiting", "weekly", "without",
];
