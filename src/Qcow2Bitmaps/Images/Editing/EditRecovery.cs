namespace Qcow2Bitmaps;

/// <summary>The outcome of recovering an interrupted edit of several images.</summary>
public enum EditRecovery
{
    /// <summary>There is no journal: nothing was interrupted.</summary>
    NothingToDo,
    /// <summary>No image had been switched: all are unchanged. The clusters of prepared structures are leaked.</summary>
    RolledBack,
    /// <summary>The remaining switches were made: all images have their new bitmaps. The clusters of replaced structures are
    /// leaked.</summary>
    Finished,
}
