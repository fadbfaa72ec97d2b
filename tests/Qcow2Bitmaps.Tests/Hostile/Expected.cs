namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>What must become of a hostile image.</summary>
internal enum Expected
{
    /// <summary>Opened and read, nothing found that the case is about.</summary>
    Accepted,
    /// <summary>Opened, with a finding of the case's code.</summary>
    Noted,
    /// <summary>Opened; reading a bitmap gives a finding of the case's code.</summary>
    NotedOnRead,
    /// <summary>Not opened: a format error of the case's code.</summary>
    Refused,
    /// <summary>Opened; reading a bitmap ends with a format error of the case's code.</summary>
    RefusedOnRead,
    /// <summary>Not opened: it needs a feature that is not known.</summary>
    Unsupported,
}
