//! Random archives that provoke what images have corners for.

use crate::archive::{Archive, Form, Member};

/// Makes the archive of number `seed`, always the same.
pub(crate) fn archive(seed: u64) -> Vec<u8> {
    let mut generator = Generator::new(seed);
    let mut archive = Archive::default();
    for _ in 0..generator.member_count() {
        let member = generator.member();
        archive.push(&member);
    }
    let mut archive = archive.finish();
    let end = archive.len();
    match generator.below(16) {
        0 => archive.truncate(end - 1024),
        1 => archive.truncate(end - 512),
        2 => archive.extend(b"what follows the end says nothing"),
        3..6 => archive.resize(end.next_multiple_of(10_240), 0),
        _ => {}
    }
    archive
}

/// Is a source of members; each seed also draws how wild they are.
struct Generator {
    state: u64,
    seen: Vec<Vec<u8>>,
    /// What a hard link may point at.
    linkable: Vec<Vec<u8>>,
    /// How many names the archive draws from: few names meet often.
    names: u64,
    /// Longest name, longest attribute value, longest file.
    longest: [u64; 3],
    /// One in so many members is a whiteout, has attributes, has another time than 0.
    rarity: [u64; 3],
    /// Whether paths come with dots, doubled slashes and further oddities.
    odd_paths: bool,
    /// One in so many names is of a directory for a file, or the other way around.
    mistakes: u64,
}

impl Generator {
    fn new(seed: u64) -> Self {
        let mut generator =
            Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), ..Self::bare() };
        generator.names = generator.pick(&[4, 6, 12, 40, 400]);
        generator.longest = [
            generator.pick(&[2, 8, 60, 255]),
            generator.pick(&[4, 60, 900, 4100]),
            generator.pick(&[100, 4097, 20_000, 20_000, 300_000]),
        ];
        generator.rarity = [
            generator.pick(&[3, 8, 40]),
            generator.pick(&[2, 5, 1000]),
            generator.pick(&[1, 2, 6, 1000]),
        ];
        generator.odd_paths = generator.one_in(4);
        generator.mistakes = generator.pick(&[10, 40, 1000, 100_000]);
        generator
    }

    fn member_count(&mut self) -> u64 {
        let most = self.pick(&[3, 10, 40, 120, 400]);
        self.below(most) + 1
    }

    fn member(&mut self) -> Member {
        let mut member = Member {
            typeflag: self.pick(b"00000077111225555346"),
            mode: self.pick(&[0o644, 0o755, 0o4755, 0o1777, 0, 0o7777, 0o775]),
            uid: self.pick(&[0, 0, 0, 1000, 65535, 65536, 0xffff_fffe]),
            gid: self.pick(&[0, 0, 0, 100, 65535, 65536]),
            form: self.pick(&[Form::Gnu, Form::Pax, Form::Ustar]),
            is_wordy: self.one_in(20),
            ..Member::default()
        };
        if member.typeflag == b'1' && self.linkable.is_empty() && !self.one_in(self.mistakes) {
            member.typeflag = b'0';
        }
        member.path = self.path(member.typeflag);
        match member.typeflag {
            b'0' | b'7' if !is_whiteout(&member.path) => member.content = self.content(),
            b'1' => member.link = self.hard_link_target(),
            b'2' => member.link = self.link_text(),
            b'3' | b'4' => {
                member.device =
                    (self.pick(&[0, 1, 8, 259, 4095]), self.pick(&[0, 3, 255, 256, 1_048_575]));
            }
            _ => {}
        }
        if self.one_in(self.rarity[2]) {
            member.mtime = self.time();
        }
        if self.one_in(self.rarity[1]) {
            member.xattrs = self.xattrs();
        }
        self.seen.push(member.path.clone());
        if typeflag_is_linkable(&member) {
            self.linkable.push(member.path.clone());
        }
        member
    }

    fn path(&mut self, typeflag: u8) -> Vec<u8> {
        if self.one_in(5) && !self.seen.is_empty() {
            let known = self.known_path();
            if (typeflag == b'5') == known.ends_with(b"/") || self.one_in(self.mistakes) {
                return known;
            }
        }
        if typeflag == b'5' && self.one_in(20) {
            return self.pick(&[&b"./"[..], b"/", b"."]).to_vec();
        }
        let mut path =
            if self.odd_paths { self.pick(&[&b""[..], b"./", b"/", b"//"]) } else { b"" }.to_vec();
        for _ in 0..self.pick(&[0, 0, 1, 1, 1, 2, 3]) {
            path.extend(self.name(true));
            path.push(b'/');
            if self.odd_paths && self.one_in(6) {
                path.extend(self.pick(&[&b"../"[..], b"./", b"/"]));
            }
        }
        let is_usual = matches!(typeflag, b'0' | b'5');
        if self.one_in(self.rarity[0]) && (is_usual || self.one_in(10)) {
            if self.one_in(4) {
                path.extend(b".wh..wh..opq");
                return path;
            }
            path.extend(b".wh.");
        }
        path.extend(self.name(typeflag == b'5'));
        if typeflag == b'5' && !self.one_in(4) {
            path.push(b'/');
        }
        path
    }

    fn name(&mut self, of_directory: bool) -> Vec<u8> {
        let is_mistake = self.one_in(self.mistakes);
        let number = self.below(self.names) * 2 + u64::from(of_directory != is_mistake);
        let longest = self.longest[0];
        // The same number is always the same name.
        let mut draw = Self { state: number.wrapping_mul(0x2545_f491_4f6c_dd1d), ..Self::bare() };
        let length = (draw.below(longest) + 1) as usize;
        let first = draw.pick(b"!-.0abAB~_\xc3\xff");
        let mut name = vec![first; length];
        if name.iter().all(|byte| *byte == b'.') {
            name[0] = b'a';
        }
        for digit in number.to_string().bytes() {
            if name.len() < 255 {
                name.push(digit);
            }
        }
        name
    }

    fn content(&mut self) -> Vec<u8> {
        let size = match self.below(4) {
            0 => self.pick(&[
                0, 0, 1, 511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097, 8191, 8192, 8193,
            ]),
            1 if self.one_in(30) => self.pick(&[65_535, 65_536, 65_537, 262_143, 262_144, 262_145]),
            _ => self.below(self.longest[2]),
        };
        let seed = self.below(251) as u8;
        (0..size).map(|index| (index as u8).wrapping_mul(seed).wrapping_add(seed)).collect()
    }

    fn hard_link_target(&mut self) -> Vec<u8> {
        if self.linkable.is_empty() || self.one_in(self.mistakes) {
            return if self.seen.is_empty() { self.name(false) } else { self.known_path() };
        }
        let index = self.below(self.linkable.len() as u64) as usize;
        self.linkable[index].clone()
    }

    fn known_path(&mut self) -> Vec<u8> {
        let index = self.below(self.seen.len() as u64) as usize;
        self.seen[index].clone()
    }

    fn link_text(&mut self) -> Vec<u8> {
        let length = match self.below(6) {
            0 => self.pick(&[
                0, 1, 447, 448, 449, 511, 512, 513, 2800, 4000, 4031, 4032, 4063, 4064, 4065, 4095,
            ]),
            1 => self.below(4095),
            _ => self.below(60),
        };
        vec![b'l'; length as usize]
    }

    fn time(&mut self) -> String {
        let seconds =
            self.pick(&[0, 1, 1_700_000_000, 4_300_000_000_i64, 8_589_934_592, -1, -70_000]);
        let fraction =
            self.pick(&["", "", "", ".5", ".25", ".123456789", ".000000001", ".1234567899"]);
        format!("{seconds}{fraction}")
    }

    fn xattrs(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let count = self.pick(&[1, 1, 1, 2, 3, 12]);
        let mut xattrs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for _ in 0..count {
            let mut name = self
                .pick(&[
                    &b"user.a"[..],
                    b"user.",
                    b"security.capability",
                    b"security.selinux",
                    b"trusted.overlay.opaque",
                    b"trusted.t",
                    b"system.posix_acl_access",
                    b"system.posix_acl_default",
                    b"btrfs.compression",
                    b"user.b",
                ])
                .to_vec();
            if self.one_in(3) {
                let number = self.below(40);
                name.extend(number.to_string().bytes());
            }
            let longest = self.longest[1];
            let value = vec![b'v'; self.below(longest) as usize];
            if xattrs.iter().all(|(known, _)| *known != name) {
                xattrs.push((name, value));
            }
        }
        xattrs
    }

    fn bare() -> Self {
        Self {
            state: 0,
            seen: Vec::new(),
            linkable: Vec::new(),
            names: 0,
            longest: [0; 3],
            rarity: [0; 3],
            odd_paths: false,
            mistakes: 0,
        }
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Draws a number below `end` (SplitMix64).
    fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}

fn is_whiteout(path: &[u8]) -> bool {
    path.rsplit(|byte| *byte == b'/').next().is_some_and(|name| name.starts_with(b".wh."))
}

fn typeflag_is_linkable(member: &Member) -> bool {
    member.typeflag != b'5' && !is_whiteout(&member.path)
}
