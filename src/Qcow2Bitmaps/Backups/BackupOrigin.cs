namespace Qcow2Bitmaps.Backups;

/// <summary>How an image became a backup.</summary>
public enum BackupOrigin
{
    /// <summary>It was taken as one.</summary>
    Taken,
    /// <summary>Another program made it. The disk was compared with its series, except where the last one's bitmap was dirty.</summary>
    AdoptedCompared,
    /// <summary>Another program made it. The user who adopted it vouched for the series, and nothing was compared.</summary>
    AdoptedTrusted,
}
