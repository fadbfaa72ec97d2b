namespace Qcow2Bitmaps;

/// <summary>What became of an edit of several images that was interrupted.</summary>
public enum EditRecovery
{
    /// <summary>There is no journal: nothing was interrupted.</summary>
    NothingToDo,
    /// <summary>No image had been switched: all are as before the edit. What had been prepared is leaked.</summary>
    RolledBack,
    /// <summary>The switches that were missing were made: all images are as after the edit. What it replaces is leaked.</summary>
    Finished,
}
