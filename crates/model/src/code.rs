//! The numbered table of answers. Numbers are stable for ever; `docs/codes.md` is generated from this table.

/// What kind of answer a code is, and so what a caller may do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Recorded and final: it was done.
    Approved,
    /// Recorded and final: nothing was taken.
    Declined,
    /// Nothing was taken; a human looks at the earlier decision.
    Suspected,
    /// Not admitted and not recorded; may be sent again with the same key.
    NotExecuted,
    /// Not known, or not yet: never to be shown as a failure.
    Unknown,
    /// The request itself is at fault; it changed nothing.
    Refused,
}

impl Class {
    /// Its name in the docs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Declined => "declined",
            Self::Suspected => "suspected duplicate",
            Self::NotExecuted => "rejected, not executed",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
        }
    }
}

/// How to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// There is nothing to try again.
    Never,
    /// A new attempt needs a new key.
    NewKey,
    /// The same key, after the time given in the answer.
    SameKey,
    /// The same key, or a fence.
    SameKeyOrFence,
    /// The same key with the token of the answer.
    Token,
}

impl Retry {
    /// Its words in the docs.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Never => "no",
            Self::NewKey => "new key",
            Self::SameKey => "same key, after the given time",
            Self::SameKeyOrFence => "same key; fence",
            Self::Token => "same key with the token",
        }
    }
}

macro_rules! codes {
    ($($variant:ident = $n:literal, $name:literal, $class:ident, $iso:literal, $retry:ident, $en:literal, $ja:literal;)*) => {
        /// Why an answer is what it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Code {
            $(#[doc = $en] $variant = $n,)*
        }

        impl Code {
            /// Every code, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// From its number.
            #[must_use]
            pub const fn from_u8(n: u8) -> Option<Self> {
                match n { $($n => Some(Self::$variant),)* _ => None }
            }

            /// Its stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Its class.
            #[must_use]
            #[inline]
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)* }
            }

            /// ISO 8583 field 39.
            #[must_use]
            pub const fn iso(self) -> &'static str {
                match self { $(Self::$variant => $iso,)* }
            }

            /// How to try again.
            #[must_use]
            pub const fn retry(self) -> Retry {
                match self { $(Self::$variant => Retry::$retry,)* }
            }

            /// What it means, in English.
            #[must_use]
            pub const fn english(self) -> &'static str {
                match self { $(Self::$variant => $en,)* }
            }

            /// What it means, in Japanese.
            #[must_use]
            pub const fn japanese(self) -> &'static str {
                match self { $(Self::$variant => $ja,)* }
            }
        }
    };
}

codes! {
    Approved = 0, "approved", Approved, "00", Never, "Approved.", "承認されました。";
    PartiallyApproved = 1, "partially-approved", Approved, "10", Never, "Approved for less than was asked, as the request allowed.", "一部金額で承認されました。";
    InsufficientFunds = 10, "insufficient-funds", Declined, "51", NewKey, "The value that can be spent here is less than the amount.", "残高が不足しています。";
    Expired = 11, "expired", Declined, "54", NewKey, "The value had expired when the request was received.", "有効期限が切れています。";
    NotYetValid = 12, "not-yet-valid", Declined, "54", NewKey, "The value cannot be spent yet.", "利用開始日前です。";
    ShopUnknown = 13, "shop-unknown", Declined, "57", NewKey, "No such shop is registered.", "登録されていない店舗です。";
    ShopNotAllowed = 14, "shop-not-allowed", Declined, "57", NewKey, "The programme does not allow this shop.", "この店舗では利用できません。";
    ShopSuspended = 15, "shop-suspended", Declined, "58", NewKey, "The shop is suspended or closed.", "店舗の取扱いが停止されています。";
    AccountUnknown = 16, "account-unknown", Declined, "14", NewKey, "No such coupon or wallet.", "該当するクーポン・ウォレットがありません。";
    AccountSuspended = 17, "account-suspended", Declined, "62", NewKey, "The coupon or wallet is suspended.", "クーポン・ウォレットが利用停止中です。";
    AccountClosed = 18, "account-closed", Declined, "62", NewKey, "The coupon or wallet is closed.", "クーポン・ウォレットは解約済みです。";
    AccountExists = 19, "account-exists", Declined, "94", NewKey, "A coupon or wallet with this id exists already.", "同じ番号のクーポン・ウォレットが既に存在します。";
    AccountKind = 20, "account-kind", Declined, "57", NewKey, "The operation does not fit this kind of account.", "この種類の口座では実行できません。";
    ProgrammeUnknown = 21, "programme-unknown", Declined, "57", NewKey, "No such programme.", "該当する事業がありません。";
    ProgrammeSuspended = 22, "programme-suspended", Declined, "62", NewKey, "The programme is suspended or closed.", "事業が停止または終了しています。";
    AmountLimit = 23, "amount-limit", Declined, "61", NewKey, "More than the programme allows in one payment.", "一回の利用上限額を超えています。";
    BalanceLimit = 24, "balance-limit", Declined, "61", NewKey, "The account would hold more than the programme allows.", "残高の上限額を超えます。";
    LotLimit = 25, "lot-limit", Declined, "65", NewKey, "The account would hold, or the debit would take from, more lots than the limit.", "保有できる口数の上限を超えています。";
    AmountInvalid = 26, "amount-invalid", Declined, "13", NewKey, "The amount is zero or over 999,999,999,999 yen.", "金額が正しくありません。";
    ExpiryInvalid = 27, "expiry-invalid", Declined, "13", NewKey, "The expiry is in the past, or before the start.", "有効期限の指定が正しくありません。";
    OriginalUnknown = 28, "original-unknown", Declined, "25", NewKey, "The original is not known.", "元の取引が見つかりません。";
    OriginalKind = 29, "original-kind", Declined, "25", NewKey, "The original is not of a kind that this operation refers to.", "元の取引の種類が異なります。";
    OriginalDeclined = 30, "original-declined", Declined, "25", NewKey, "The original was declined; there is nothing to act on.", "元の取引は承認されていません。";
    HoldVoided = 31, "voided", Declined, "25", NewKey, "The hold was voided or has died; its value went back.", "保留は取消済みまたは期限切れです。";
    HoldCaptured = 32, "already-captured", Declined, "25", NewKey, "The hold was captured already.", "保留は既に確定済みです。";
    AlreadyReversed = 33, "already-reversed", Declined, "25", NewKey, "The original was reversed.", "元の取引は既に取り消されています。";
    ExceedsOriginal = 34, "exceeds-original", Declined, "61", NewKey, "Reversals and refunds would pass what was taken.", "元の取引の金額を超えています。";
    SamePerson = 35, "same-person", Declined, "57", NewKey, "Maker and approver are the same person.", "起案者と承認者が同一です。";
    PlanMismatch = 36, "plan-mismatch", Refused, "12", NewKey, "The digest does not name a plan that was made here; plan again.", "計画のダイジェストが一致しません。再度計画してください。";
    RuleExists = 37, "rule-exists", Declined, "94", NewKey, "An extension with this rule id exists already.", "同じ番号の延長ルールが既に存在します。";
    WrongProgramme = 38, "wrong-programme", Declined, "57", NewKey, "The shop is one of another programme than the value.", "この店舗は別の事業の加盟店です。";
    LimitReached = 39, "limit-reached", Declined, "65", NewKey, "A fixed limit of the core was reached (programmes, shops or rules).", "登録件数の上限に達しています。";
    HoldLimit = 40, "hold-limit", Declined, "65", NewKey, "The account has as many open holds as it may have.", "同時に保留できる件数の上限に達しています。";
    StandInOff = 41, "stand-in-off", Declined, "57", NewKey, "The programme leases nothing now: stand-in is off, was not exercised for 60 days, or the core is not back to normal.", "現在、この事業の代行承認は利用できません。";
    LeaseHeld = 42, "lease-held", Declined, "94", NewKey, "Another client holds the programme's lease.", "別のクライアントが代行枠を保持しています。";
    SuspectedDuplicate = 100, "suspected-duplicate", Suspected, "94", Token, "A like payment was made just before; nothing was taken now. Look at the earlier one; send the token if a second purchase is meant.", "直前に同じ支払いがあります。今回は引き落としていません。二度目の購入であればトークンを付けて再送してください。";
    Overloaded = 110, "overloaded", NotExecuted, "91", SameKey, "Too much at once; nothing was taken.", "混雑のため処理していません。引き落としはありません。";
    Draining = 111, "draining", NotExecuted, "91", SameKey, "The server is stopping; nothing was taken.", "停止処理中のため処理していません。引き落としはありません。";
    MemoryLimit = 112, "memory-limit", NotExecuted, "91", SameKey, "A table's memory limit is reached; nothing was taken.", "メモリ上限のため処理していません。引き落としはありません。";
    DiskFull = 113, "disk-full", NotExecuted, "91", SameKey, "The journal has no room; nothing was taken.", "ディスク容量不足のため処理していません。引き落としはありません。";
    DeadlinePassed = 114, "deadline-passed", NotExecuted, "68", SameKey, "The deadline had passed before it could take effect; nothing was taken.", "期限までに処理できませんでした。引き落としはありません。";
    Halted = 115, "halted", NotExecuted, "96", SameKey, "The core is halted; nothing was taken.", "システム停止中です。引き落としはありません。";
    WrongShard = 116, "wrong-shard", NotExecuted, "92", SameKey, "Another server has this account; nothing was taken.", "担当サーバーが異なります。引き落としはありません。";
    JournalSlow = 117, "journal-slow", NotExecuted, "91", SameKey, "The journal does not answer in time; nothing was taken.", "記録装置の応答が遅いため処理していません。引き落としはありません。";
    RateExceeded = 118, "rate-exceeded", NotExecuted, "65", SameKey, "More requests than the caller's rate allows; nothing was taken.", "接続元の処理量の上限を超えています。引き落としはありません。";
    Unknown = 140, "unknown", Unknown, "09", SameKeyOrFence, "The outcome is not known. Not a failure: send the same key again, or fence it.", "結果が不明です。失敗として扱わず、同じキーで再送するか、フェンスしてください。";
    InProgress = 141, "in-progress", Unknown, "09", SameKeyOrFence, "The first request with this key is still being decided.", "同じキーの処理が進行中です。";
    NotSeen = 142, "not-seen", Unknown, "25", SameKeyOrFence, "Nothing is decided under this key so far. Not a promise: the request may be on its way; a fence is.", "このキーの取引はまだ確認されていません（確約ではありません）。";
    Malformed = 150, "malformed", Refused, "30", Never, "The frame or a field of it is not as the protocol says.", "電文の形式が正しくありません。";
    Unauthenticated = 151, "unauthenticated", Refused, "30", Never, "The caller did not prove who it is, or came to the wrong port.", "認証されていません。";
    Conflict = 152, "conflict", Refused, "12", NewKey, "The key was used before for another request; that decision stands.", "このキーは別の内容の取引で使用済みです。";
    Fenced = 153, "fenced", Refused, "12", NewKey, "The key was fenced or reversed before it was decided: it never takes effect.", "このキーはフェンス済みで、今後も実行されません。";
    KeyTooOld = 154, "key-too-old", Refused, "12", Never, "The key is older than the horizon and not known here: it may have been decided and forgotten. Ask the office.", "キーが古すぎます。処理済みの可能性があるため、事務局にお問い合わせください。";
    OriginalTooOld = 155, "original-too-old", Refused, "25", Never, "The original is older than the horizon: it may have been decided and forgotten. Ask the office.", "元の取引が古すぎます。事務局にお問い合わせください。";
    KeyClock = 156, "key-clock", Refused, "12", NewKey, "The key comes from the future or carries no time; nothing was taken.", "キーの時刻が正しくありません。引き落としはありません。";
    OperationUnknown = 157, "operation-unknown", Refused, "12", Never, "The frame kind is not known, or not served on this port.", "この操作はこのポートでは受け付けていません。";
    VersionUnknown = 158, "version-unknown", Refused, "12", Never, "No protocol version in common.", "対応するプロトコルバージョンがありません。";
    FrameTooLarge = 159, "frame-too-large", Refused, "30", Never, "The frame is longer than the largest that was agreed.", "電文が長すぎます。";
    NamespaceNotAllowed = 160, "namespace-not-allowed", Refused, "30", Never, "The caller may not use keys of this namespace.", "この名前空間は使用できません。";
    LogDropped = 161, "log-dropped", Refused, "25", Never, "The log begins later: what was asked for was dropped by the archive's policy. `related` is the first position that is there.", "ログの該当部分は保存期間を過ぎて削除されています。参照可能な最初の位置は related です。";
    NotFromHere = 162, "not-from-here", Refused, "12", Never, "The breaker is not in a state from which this is allowed; `docs/degrade.md` has the table.", "この状態のブレーカーには実行できない操作です。";
    OperationNotPermitted = 163, "operation-not-permitted", Refused, "58", Never, "The caller's rights do not cover this operation; nothing was taken.", "この操作の権限がありません。引き落としはありません。";
    ShopNotPermitted = 164, "shop-not-permitted", Refused, "58", Never, "The caller's rights do not cover this shop; nothing was taken.", "この店舗に対する権限がありません。引き落としはありません。";
    ProgrammeNotPermitted = 165, "programme-not-permitted", Refused, "58", Never, "The caller's rights do not cover this programme; nothing was taken.", "この事業に対する権限がありません。引き落としはありません。";
    AmountNotPermitted = 166, "amount-not-permitted", Refused, "61", Never, "The caller's rights do not cover this amount; nothing was taken.", "接続元に許された金額を超えています。引き落としはありません。";
}

impl Code {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// True when the answer is stored under its key and final.
    #[must_use]
    #[inline]
    pub const fn is_recorded(self) -> bool {
        matches!(self.class(), Class::Approved | Class::Declined)
    }
}
