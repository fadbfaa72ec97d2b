namespace Qcow2Bitmaps.Backups;

/// <summary>How an image became a backup.</summary>
public enum BackupOrigin
{
    /// <summary>It was taken as one.</summary>
    Taken,
    /// <summary>
    /// Another program made it. The disk was compared with the series that it belongs to, outside what the
    /// bitmap of the last one called dirty.
    /// </summary>
    AdoptedCompared,
    /// <summary>Another program made it. Whoever adopted it vouched for the series, and nothing was compared.</summary>
    AdoptedTrusted,
}
